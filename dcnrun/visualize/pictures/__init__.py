"""Pictures of where a network looks: a file for each view, all drawn without a screen."""
