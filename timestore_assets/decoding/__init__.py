"""Records as they were written become typed columns, or rejections with their reasons."""
