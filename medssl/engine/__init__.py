"""The step loop, and what makes it resume exactly."""
