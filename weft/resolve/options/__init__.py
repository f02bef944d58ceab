"""What one option means for one model: its value, or what the model's files say where it is automatic."""
