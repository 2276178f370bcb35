"""What meters and the other side of a link say, and nothing about what it means: codecs, drivers, batches, signatures."""
