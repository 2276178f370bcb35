"""What meters and the other side of a link say: codecs, drivers, batches, signatures. No policy lives here."""
