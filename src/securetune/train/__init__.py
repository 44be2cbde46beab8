"""Train: tune a model by the user's own trainer, with a plan in force."""
