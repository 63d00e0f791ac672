"""Other codes' state dicts into our networks, exactly: a table of layouts, permuted where orders differ."""
