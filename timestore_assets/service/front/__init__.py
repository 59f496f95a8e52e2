"""What stands before the application: bounds on what a connection may send, and on how long it may take."""
