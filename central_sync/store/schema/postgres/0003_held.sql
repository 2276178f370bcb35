-- The number of a step that comes from beside this one; it changes nothing.

SELECT 1;
