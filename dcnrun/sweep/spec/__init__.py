"""The W&B sweep file: its whole format."""
