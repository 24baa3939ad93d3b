"""What people say of a run's answers: labels and notes, samples to review, and what they come to."""
