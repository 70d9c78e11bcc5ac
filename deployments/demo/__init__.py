"""The main job of each domain on sandbox peers and real input, counted against the truth that the sandbox keeps."""
