"""Look at a person's own file and propose a declaration for it."""
