"""The models beside the plain Vision Transformer, one paper a file; those with a name stand in `table`."""
