"""The settings of a run: schema, composition, validation and messages."""
