"""Object stores on disks and in clouds, and the cache of remote objects."""
