void use();
void use() {}
