"""Flow: the stages of a run, in order, on one configuration and one folder."""
