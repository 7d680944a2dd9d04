"""The W&B sweep file: its format, whole."""
