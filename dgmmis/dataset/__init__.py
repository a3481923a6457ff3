"""The survey store: rows as chunked arrays in zarr."""
