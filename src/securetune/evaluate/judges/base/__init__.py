"""Base: the interface of a judge, and the judges that ask a model."""
