"""The description of the HTTP interface, for programs and for people."""
