"""The UI message stream of the Vercel AI SDK (`useChat`), versions 6 and 7. docs/dialects/ai-sdk.md describes it."""
