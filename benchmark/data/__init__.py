"""Video in: decoding, sampling, manifests, data sets, the loader."""
