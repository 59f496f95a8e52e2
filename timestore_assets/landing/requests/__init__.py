"""Landing what programs send over HTTP: requests that are in flight together share one commit."""
