"""Knowledge as data: territories, policies, tariffs, meter profiles and load shapes, shipped inside the wheel."""
