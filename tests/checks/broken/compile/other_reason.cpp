void use();
void use() { static_assert(sizeof(int) == 0, "refused for another reason"); }
