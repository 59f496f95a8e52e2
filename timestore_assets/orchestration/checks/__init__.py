"""Asset checks: what is looked at, what is found, and how often."""
