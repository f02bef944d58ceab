"""Media of prompts: fetched and decoded under limits, processed into what a model's encoder takes. Knows no engine."""
