"""No models. Django sends `post_migrate`, which creates the index's table, only to apps that have this module."""
