"""The field tables of engines' APIs; the types are explained in `moorage.config.reading.structs`."""
