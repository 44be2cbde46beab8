"""Base: the interface of a defence, and what joins several of them into an arm."""
