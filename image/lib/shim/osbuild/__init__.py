"""What stages use of osbuild's library."""
