"""The FLOPs of a model, from its shapes, and what a GPU can do of them."""
