"""What a person looks at after a run: tables of cost, and one HTML page."""
