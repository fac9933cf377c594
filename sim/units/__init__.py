"""What each unit does with a user's tensors: quantise, run, scale back."""
