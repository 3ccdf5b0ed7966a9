"""What the files of the Compose project say of each other."""
def problems(folder): return []
