"""Local stand-ins for outside systems. They keep their own ground truth and are imported by nothing they test."""
