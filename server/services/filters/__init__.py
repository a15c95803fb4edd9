"""What accounts do with their mail: scripts, rules, vacation, forwards; and running them at delivery."""
