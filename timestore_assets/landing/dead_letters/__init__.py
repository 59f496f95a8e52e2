"""Records that did not land: looked at, forwarded to a topic, and tried again."""
