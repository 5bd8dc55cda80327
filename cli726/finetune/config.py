STAGES=("stem","layer1","layer2","layer3","pool"); DEPTHS=(20,32,44,56)
