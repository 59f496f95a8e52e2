"""Plan which segments a question needs, read them, and render the answer."""
