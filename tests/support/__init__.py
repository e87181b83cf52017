"""What several test files share: toy models, recipes and volumes, a distributed worker, a headless browser."""
