"""What survives a restart: blobs by content hash, small state files, secrets.

Floor 3; blocking, so the hall calls it from worker threads.
"""
