"""OpenAI's Responses and Chat Completions. docs/dialects/openai.md has the mapping."""
