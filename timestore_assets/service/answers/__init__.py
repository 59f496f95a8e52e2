"""Answers on their way to a client: in which format, what is said about them, and how they are streamed."""
