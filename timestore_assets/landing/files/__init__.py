"""Landing files: identify, claim, land from the stored position, settle."""
