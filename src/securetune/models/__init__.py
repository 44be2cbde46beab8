"""Models: load any Hugging Face causal LM and read its topology."""
