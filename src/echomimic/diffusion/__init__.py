"""The diffusion engine: the published EchoMimic V1 and V2 systems as presets of one network."""
