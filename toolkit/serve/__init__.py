"""Local servers that speak the OpenAI format: simulated models, or a local checkpoint."""
