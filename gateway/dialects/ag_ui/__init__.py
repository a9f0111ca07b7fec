"""AG-UI, for `HttpAgent`, TanStack AI and CopilotKit. docs/dialects/ag-ui.md describes it."""
