"""Selection methods: one file each. A method says which features it needs and turns them into a subset."""
