"""The way to the hub: facts up by lane, permissions and money down, nothing lost and nothing counted twice."""
