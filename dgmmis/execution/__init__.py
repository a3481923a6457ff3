"""Who does the work: the serial loop (the meaning), threads in this process, a dask cluster. Knows dask, not EM."""
